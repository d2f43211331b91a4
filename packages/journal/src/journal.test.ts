import { startRedis, startRedisCluster } from '@muster/stack'
import { describe } from 'vitest'
import { journalSuite } from './journal-suite.ts'

describe('in one partition', () => journalSuite({ partitions: 1, start: (dir) => startRedis({ dir }) }))

describe('in three partitions of one Redis', () => journalSuite({ partitions: 3, start: (dir) => startRedis({ dir }) }))

// The hash tags of five partitions lie on all three nodes.
describe('in five partitions of a Redis Cluster', () =>
  journalSuite({ partitions: 5, start: (dir) => startRedisCluster({ dir, primaries: 3 }) }))
