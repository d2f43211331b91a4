/** A piece of a prompt, in the order in which a vendor reads it. */
interface Block {
  text: string
  mark?: '5m' | '1h'
}

/** Each character is a token here, so that sums can be told exactly. */
interface Counted {
  /** Neither read from the cache nor written to it. */
  fresh: number
  read: number
  written: number
  /** Of what is written what is kept for an hour. */
  long: number
}

type Body = Record<string, unknown>

/** What a vendor keeps of prompts, for tests: what a request before had marked is read, and no more than that. */
export class PromptCache {
  readonly #kept = new Set<string>()

  /**
   * Anthropic's Messages.
   *
   * @throws Error for what Anthropic refuses
   */
  ofMessages(body: Body): Counted {
    const said = objects(body.messages).flatMap(({ role, content }) =>
      objects(content).map((block): Body => ({ role, ...block })),
    )
    const prompt = [...objects(body.tools), ...objects(body.system), ...said].map(
      ({ cache_control, ...block }): Block => {
        if (!cache_control) return { text: JSON.stringify(block) }
        if (String(block.type).endsWith('thinking')) throw new Error('cache_control cannot be set for thinking blocks')
        return { text: JSON.stringify(block), mark: ttlOf(cache_control) }
      },
    )
    return this.#count(prompt, 20)
  }

  /**
   * Bedrock's Converse, where a mark is a block of its own after what it marks.
   *
   * @throws Error for what Bedrock refuses
   */
  ofConverse(model: string, body: Body): Counted {
    const isNova = model.includes('amazon.nova')
    if (!isNova && !model.includes('anthropic.claude') && JSON.stringify(body).includes('"cachePoint":'))
      throw new Error('You invoked an unsupported model or your request did not allow prompt caching')
    const { tools } = (body.toolConfig ?? {}) as Body
    if (isNova && objects(tools).some(({ cachePoint }) => cachePoint))
      throw new Error('#/toolConfig/tools: extraneous key [cachePoint] is not permitted')
    const lists = [tools, body.system, ...objects(body.messages).map(({ content }) => content)]
    const prompt: Block[] = []
    for (const [at, list] of lists.entries()) {
      let last: Body | undefined
      for (const block of objects(list)) {
        const { cachePoint } = block
        const before = prompt.at(-1)
        if (!cachePoint) prompt.push({ text: `${at % 2} ${JSON.stringify(block)}` })
        else if (!last || !before || last.cachePoint) throw new Error('There is nothing available to cache')
        else if (last.document || last.reasoningContent) throw new Error(`messages.${at}.content.type: Field required`)
        else if (isNova && last.toolResult) throw new Error('extraneous key [cachePoint] is not permitted')
        else before.mark = ttlOf(cachePoint)
        last = block
      }
    }
    if (prompt.some(({ mark }) => mark === '1h') && !/claude-[a-z]+-(?:4-[5-9]|[5-9])/.test(model))
      throw new Error('Extra inputs are not permitted')
    // Of Nova no place is looked for but those that are marked.
    return this.#count(prompt, isNova ? 0 : 20)
  }

  #count(prompt: readonly Block[], lookBack: number): Counted {
    const marks = prompt.flatMap(({ mark }, at) => (mark ? [at] : []))
    if (marks.length > 4) throw new Error(`A maximum of 4 blocks may be marked, ${marks.length} are`)
    const upTo = (at: number) => JSON.stringify(prompt.slice(0, at + 1).map(({ text }) => text))
    const size = (from: number, to: number) => prompt.slice(from, to).reduce((sum, { text }) => sum + text.length, 0)
    const isRead = (at: number) => marks.some((mark) => at <= mark && mark - at <= lookBack) && this.#kept.has(upTo(at))
    const read = prompt.findLastIndex((_, at) => isRead(at)) + 1
    const written = Math.max(read, (marks.at(-1) ?? -1) + 1)
    const long = Math.max(read, prompt.findLastIndex(({ mark }) => mark === '1h') + 1)
    for (const mark of marks) this.#kept.add(upTo(mark))
    return {
      ...{ fresh: size(written, prompt.length), read: size(0, read) },
      ...{ written: size(read, written), long: size(read, long) },
    }
  }
}

function objects(value: unknown): Body[] {
  return Array.isArray(value) ? value : []
}

function ttlOf(mark: unknown): '5m' | '1h' {
  const { ttl = '5m' } = mark as { ttl?: '5m' | '1h' }
  return ttl
}
