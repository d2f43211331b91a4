--[[
  Sends the heads of running runs to their ledgers, of those that have moved since.

  KEYS  run hashes
  ARGV  1 now (ms)   2 tag of the partition   then per run: run id, tenant
  Gives how many were sent.
]]
--@include heads_out
local sent = 0
for i, run in ipairs(KEYS) do
  local now = redis.call('HMGET', run, 'status', 'seq', 'head', 'sealed')
  if now[1] == 'running' and now[2] ~= now[4] then
    redis.call('HSET', run, 'sealed', now[2])
    noteHead(ARGV[2], ARGV[1], ARGV[2 * i + 2], ARGV[2 * i + 1], now[2], now[3], 'running')
    sent = sent + 1
  end
end
sendHeads(ARGV[2], ARGV[1])
return sent
