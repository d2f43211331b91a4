import { createServer, request, type Server, type ServerResponse } from 'node:http'

/** An HTTP proxy before DynamoDB, which can answer as AWS does where a table has used up its throughput. */
export class DynamoProxy {
  readonly #server: Server
  #throttled = 0

  private constructor(target: number) {
    this.#server = createServer((incoming, response) => {
      if (Math.random() < this.#throttled) {
        incoming.resume()
        refuse(response)
        return
      }
      const { method, headers, url: path } = incoming
      const onward = request({ host: '127.0.0.1', port: target, method, headers, path }, (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers)
        answer.pipe(response)
      })
      onward.on('error', () => response.destroy())
      incoming.pipe(onward)
    })
  }

  static open(target: number): Promise<DynamoProxy> {
    return new Promise((resolve, reject) => {
      const proxy = new DynamoProxy(target)
      proxy.#server.once('error', reject)
      proxy.#server.listen(0, '127.0.0.1', () => resolve(proxy))
    })
  }

  get endpoint(): string {
    const address = this.#server.address()
    if (address === null || typeof address === 'string') throw new Error('the proxy is closed')
    return `http://127.0.0.1:${address.port}`
  }

  /** Refuses this part of the requests from now on, 0 to 1. */
  throttle(part: number): void {
    this.#throttled = part
  }

  close(): Promise<void> {
    this.#server.closeAllConnections()
    return new Promise((resolve) => this.#server.close(() => resolve()))
  }
}

function refuse(response: ServerResponse): void {
  const error = {
    __type: 'com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException',
    message: 'The level of configured provisioned throughput for the table was exceeded.',
  }
  response.writeHead(400, { 'content-type': 'application/x-amz-json-1.0' }).end(JSON.stringify(error))
}
