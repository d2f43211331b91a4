/** The name of a tenant's ledger, which is also that of its keys: no white space and no `+` in it. */
export function originOf(prefix: string, tenant: string): string {
  return `${prefix}/${encodeURIComponent(tenant.toWellFormed())}`
}
