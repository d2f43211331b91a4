import { RetrieveAndGenerateCommand, RetrieveCommand } from '@aws-sdk/client-bedrock-agent-runtime'
import type { Label } from '@muster/protocol'
import { type Tool, tool } from '@muster/sdk'
import { z } from 'zod'
import { clientOf, failureOf, type Place } from './client.ts'
import { citation, citationsOf, source, sourceOf } from './sources.ts'

export interface KnowledgeBaseOptions<Name extends string> extends Place {
  name: Name
  description?: string
  /** Id of the knowledge base. */
  id: string
  /** Passages that are given at most; 5 unless given. */
  results?: number
  /** Marks on what is found; `untrusted` unless given. */
  labels?: readonly Label[]
}

export interface KnowledgeAnswerOptions<Name extends string> extends KnowledgeBaseOptions<Name> {
  /** ARN of the model, or of the inference profile, that writes the answer. */
  model: string
  guardrail?: { id: string; version: string }
}

const query = z.object({ text: z.string().min(1).max(20_000) })
const found = z.object({ results: z.array(source.extend({ score: z.number().optional() })) })
const answered = z.object({ text: z.string(), citations: z.array(citation) })

/** Finds passages in a knowledge base of Bedrock (Retrieve). */
export function knowledgeBase<const Name extends string>(
  options: KnowledgeBaseOptions<Name>,
): Tool<Name, typeof query, typeof found> {
  const { name, description = '', id, results = 5, labels = ['untrusted'] } = options
  return tool({
    ...{ name, description, effect: 'read', labels, input: query, output: found },
    run: async ({ text }, { signal }) => {
      try {
        const { retrievalResults = [] } = await clientOf(options).send(
          new RetrieveCommand({
            knowledgeBaseId: id,
            retrievalQuery: { text },
            retrievalConfiguration: { vectorSearchConfiguration: { numberOfResults: results } },
          }),
          { abortSignal: signal },
        )
        return {
          results: retrievalResults.map(({ content, location, score }) => ({
            ...sourceOf(content?.text, location),
            ...(score === undefined ? {} : { score }),
          })),
        }
      } catch (error) {
        throw failureOf(name, error, signal)
      }
    },
  })
}

/** Answers from a knowledge base of Bedrock, with what the answer rests on (RetrieveAndGenerate). */
export function knowledgeAnswer<const Name extends string>(
  options: KnowledgeAnswerOptions<Name>,
): Tool<Name, typeof query, typeof answered> {
  const { name, description = '', id, model, results = 5, labels = ['untrusted'], guardrail } = options
  return tool({
    ...{ name, description, effect: 'read', labels, input: query, output: answered },
    run: async ({ text }, { signal }) => {
      try {
        const { output, citations } = await clientOf(options).send(
          new RetrieveAndGenerateCommand({
            input: { text },
            retrieveAndGenerateConfiguration: {
              type: 'KNOWLEDGE_BASE',
              knowledgeBaseConfiguration: {
                knowledgeBaseId: id,
                modelArn: model,
                retrievalConfiguration: { vectorSearchConfiguration: { numberOfResults: results } },
                ...(guardrail
                  ? {
                      generationConfiguration: {
                        guardrailConfiguration: { guardrailId: guardrail.id, guardrailVersion: guardrail.version },
                      },
                    }
                  : {}),
              },
            },
          }),
          { abortSignal: signal },
        )
        return { text: output?.text ?? '', citations: citationsOf(citations) }
      } catch (error) {
        throw failureOf(name, error, signal)
      }
    },
  })
}
