import { playCases } from './outcome.ts'
import { writeTable } from './table.ts'

// Plays the cases and writes what was measured into docs/guides/attacks.md.
writeTable(await playCases())
