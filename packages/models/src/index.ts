/** One interface to every model. */
export { guarded } from './guardrail.ts'
export type { FilePart, ImagePart, ModelMessage, ModelReply, ModelRequest, Part, ToolCall } from './message.ts'
export { createModels, type Models, type ModelsOptions, withReferences } from './models.ts'
export { costOf, type Price, priceOf, pricesWith } from './price.ts'
export type { Dialect, RelayEnd, Relayed, RelayRequest } from './relay/request.ts'
export { VendorError } from './relay/upstream.ts'
export type { Route, RouteRule } from './route/rule.ts'
export type { ModelFacts, Target } from './target.ts'
