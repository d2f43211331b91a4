import { hash } from 'node:crypto'
import type { Journal } from './journal.ts'
import type { Partition } from './partition.ts'

/** Where what is counted of a tenant lies: all of it in one place, so that it is changed at once or not at all. */
export function tenantPartition({ partitions }: Journal, tenant: string): Partition {
  if (partitions.length === 1) return partitions[0]
  const index = hash('sha256', tenant, 'buffer').readUInt32BE() % partitions.length
  return partitions[index] as Partition // within their number
}
