import { describe } from 'vitest'
import { memorySuite } from './memory-suite.ts'
import { startDynalite } from './test-server.ts'

describe('memory on dynalite', () => memorySuite(startDynalite))
