import type { ErrorCode } from '@muster/protocol'
import { failure } from './provider.ts'
import type { AnthropicTarget, OpenAiTarget } from './target.ts'

/** Headers by which AWS knows who asks (SigV4). */
export type Sign = (url: URL, body: string) => Promise<Record<string, string>>

/** What a target without a key is signed by: with what AWS's SDK finds, which it keeps fresh. */
export function signatureOf(target: OpenAiTarget | AnthropicTarget): Sign | undefined {
  if (!('aws' in target) || !target.aws || target.apiKey !== '') return undefined
  const { model, aws } = target
  const { region } = aws
  let loading: ReturnType<typeof load> | undefined

  async function load() {
    const [{ BedrockRuntimeClient }, { codeOf }] = await Promise.all([
      import('@aws-sdk/client-bedrock-runtime'),
      import('./bedrock-error.ts'),
    ])
    return { config: new BedrockRuntimeClient({ region }).config, codeOf }
  }

  return async (url, body) => {
    loading ??= load()
    const { config, codeOf } = await loading
    const { protocol, hostname, host, port, pathname: path } = url
    const signingName = hostname.includes('bedrock-mantle') ? 'bedrock-mantle' : 'bedrock'
    try {
      const signer = await config.signer({ ...SCHEME, signingName, signingRegion: region })
      const { headers } = await signer.sign({
        ...{ method: 'POST', protocol, hostname, path, headers: { host }, body },
        ...(port === '' ? {} : { port: Number(port) }),
      })
      const { host: _, ...signed } = headers
      return signed
    } catch (error) {
      const code: ErrorCode = codeOf(error)
      throw failure(code, { model }, error)
    }
  }
}

const SCHEME = { name: 'sigv4', properties: {} }
