/** The geography before the id of a model at Bedrock; vendors have longer names. */
const GEOGRAPHY = /^(?:arn:[^/]*\/)?(global|apac|us-gov|[a-z]{2})\./

/** Where a profile may take a request: `eu`, `global`; undefined of a model asked by its own id. */
export function geographyIn(model: string): string | undefined {
  return GEOGRAPHY.exec(model)?.[1]
}

/** The id of a model without where it is asked. */
export function withoutGeography(id: string): string {
  const geography = geographyIn(id)
  return geography === undefined ? id : id.slice(geography.length + 1)
}

/**
 * By which names the price of a model at Bedrock may be told, the closest first: as it is asked, in its geography, and
 * wherever it is. GovCloud and China have prices of their own alone.
 */
export function namesAt(region: string, model: string): string[] {
  const id = model.replace(/^arn:[^/]*\//, '')
  const bare = withoutGeography(id)
  const geography = geographyIn(id) ?? geographyOf(region)
  return geography === 'us-gov' || geography === 'cn' ? [`${geography}.${bare}`] : [id, `${geography}.${bare}`, bare]
}

/** Prices are the same in three regions of the US; of any other region nothing is known by its geography. */
function geographyOf(region: string): string {
  if (/^us-(?:east-1|east-2|west-2)$/.test(region)) return 'us'
  return /^(us-gov|cn)-/.exec(region)?.[1] ?? region
}
