import { setFlagsFromString } from 'node:v8'

/**
 * Has V8 allocate all that is made from now on in the young generation, in the whole process.
 *
 * Otherwise it moves the place of what has mostly survived so far to the old one, which is where runs that wait for Redis
 * bring their objects while a process starts. From then on each run, with all that it refers to, stays until the next full
 * collection, and what lives for milliseconds is copied twice before: a fifth of the CPU time of a gateway.
 */
export function allocateYoung(): void {
  setFlagsFromString('--no-allocation-site-pretenuring')
}
