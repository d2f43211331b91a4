import {
  BODY_BYTES_MAX,
  dataProblem,
  type Issue,
  type Json,
  type MediaPart,
  MusterError,
  mapMedia,
  VALUE_MAX,
} from '@muster/protocol'

/** Bytes in the body of a request that may have images and files. */
export const MEDIA_BODY_MAX = VALUE_MAX + BODY_BYTES_MAX

/** @throws MusterError `request.too_large` for more than a value without images and files may have */
export function checkSize(value: Json, max: number = BODY_BYTES_MAX): void {
  const bytes = Buffer.byteLength(JSON.stringify(value))
  if (bytes > max) throw new MusterError('request.too_large', `${bytes} bytes; at most ${max} are taken`)
}

/**
 * Images and files in what a client has sent: each is what its type says, and beside them there is no more than elsewhere.
 *
 * @throws MusterError `request.too_large`, `input.invalid`
 */
export function checkMedia(value: Json, at: string, textMax: number = BODY_BYTES_MAX): void {
  const issues: Issue[] = []
  let data = 0
  const rest = mapMedia(value, (part: MediaPart, path) => {
    if (!('data' in part)) return { ...part }
    data += part.data.length
    const message = dataProblem(part.mediaType, part.data)
    if (message !== undefined) issues.push({ path: `${at}${path}/data`, message })
    return { ...part, data: '' }
  })
  checkSize(rest, textMax)
  const left = VALUE_MAX - JSON.stringify(rest).length
  if (data > left)
    throw new MusterError(
      'request.too_large',
      `${at} has images and files of ${data} characters as base64; at most ${left} are taken. Give fewer, or addresses of images`,
    )
  if (issues.length > 0)
    throw new MusterError('input.invalid', issues.map(({ path, message }) => `${path} ${message}`).join('; '), {
      issues,
    })
}
