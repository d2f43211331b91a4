#!/usr/bin/env node
import { enableCompileCache } from 'node:module'
import { homedir } from 'node:os'
import { join } from 'node:path'

// What one command has compiled the next need not: more than half of the time of a short one. In a folder of the user's own,
// since what lies there is run.
enableCompileCache(join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'muster', 'compiled'))
await import('./program.ts')
