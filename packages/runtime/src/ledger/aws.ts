const CONNECT_MS = 3000
const ANSWER_MS = 5000

/** How clients of AWS are made here; `endpoint` is for a server that speaks as AWS does. */
export function awsOptions(endpoint: string | undefined) {
  return {
    ...(endpoint === undefined ? {} : { endpoint }),
    maxAttempts: 4,
    requestHandler: {
      connectionTimeout: CONNECT_MS,
      requestTimeout: ANSWER_MS,
      socketTimeout: ANSWER_MS,
      throwOnRequestTimeout: true,
    },
  }
}
