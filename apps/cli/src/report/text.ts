export function time(ms: number): string {
  return new Date(ms).toISOString()
}
