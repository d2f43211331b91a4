/** The lines of an answer as they arrive; the last needs no line feed. */
export async function* lines(response: Response): AsyncGenerator<string> {
  if (!response.body) return
  const decoder = new TextDecoder()
  const reader = response.body.getReader()
  let rest = ''
  try {
    for (;;) {
      const { done, value } = await reader.read()
      const found = (rest + decoder.decode(value, { stream: !done })).split('\n')
      rest = found.pop() ?? ''
      yield* found
      if (done) break
    }
    if (rest !== '') yield rest
  } finally {
    // Whoever stops reading also stops the server's sending.
    await reader.cancel().catch(() => undefined)
  }
}
