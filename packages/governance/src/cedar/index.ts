/**
 * Cedar, compiled: cedar-wasm's functions that decide, with the same inputs and answers, as JavaScript.
 * Source: the Cedar policy language, version 4 (docs.cedarpolicy.com).
 */
export { isAuthorized, preparsePolicySet, preparseSchema, statefulIsAuthorized } from './authorizer.ts'
