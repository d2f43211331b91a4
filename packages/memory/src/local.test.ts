import { describe } from 'vitest'
import { memorySuite } from './memory-suite.ts'
import { hasJava, startLocal } from './test-server.ts'

if (hasJava()) describe('memory on DynamoDB Local', () => memorySuite(startLocal))
else describe.skip('memory on DynamoDB Local: skipped, as there is no java', () => memorySuite(startLocal))
