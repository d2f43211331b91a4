/** Schemas and types of the wire, the journal's entries, plans, runs, errors and configuration. No I/O. */
export * from './config.ts'
export * from './definition.ts'
export * from './entry.ts'
export * from './errors.ts'
export * from './ids.ts'
export * from './plan.ts'
export * from './run.ts'
export * from './view.ts'
