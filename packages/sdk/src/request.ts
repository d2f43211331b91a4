/** Any path of the API, with the client's key: what the parts of the client are made of. */
export type Request = <T>(method: string, path: string, body?: unknown, headers?: Record<string, string>) => Promise<T>
