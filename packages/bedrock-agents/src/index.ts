/** Agents and knowledge bases of Amazon Bedrock, as tools and as parts of plans. */
export { type BedrockAgent, type BedrockAgentOptions, bedrockAgent } from './agent.ts'
export type { Place } from './client.ts'
export { type InlineAgentOptions, inlineAgent } from './inline-agent.ts'
export { type KnowledgeAnswerOptions, type KnowledgeBaseOptions, knowledgeAnswer, knowledgeBase } from './knowledge.ts'
