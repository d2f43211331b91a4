/** An event of a stream (HTML Living Standard, section 9.2), as it came but for its line ends. */
export interface SseEvent {
  raw: string
  name: string
  data: string
}
