/** Loaded by a worker first: lets the campaign set this process's clock. Its timers and other processes are not touched. */
const now = Date.now
let aheadMs = 0
Date.now = () => now() + aheadMs
process.on('message', (message: { clockAheadMs?: number }) => {
  aheadMs = message.clockAheadMs ?? aheadMs
})

export {}
