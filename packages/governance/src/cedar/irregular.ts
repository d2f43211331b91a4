/** What is no policy, schema, entity or request of Cedar; the message says what and where. */
export class Irregular extends Error {}
