--[[
  Creates runs that whoever creates them holds from their first entry on: they stand in no backlog and no queue.

  KEYS  1 runs that the holder holds   then per run: run hash, log stream, its tenant's index
  ARGV  per run: run id, time of its creation (ms, from the id), hash of its first entry, that entry, its content
]]
local a = 1
for k = 2, #KEYS, 3 do
  local id, head, bytes = ARGV[a], ARGV[a + 2], ARGV[a + 3]
  redis.call('XADD', KEYS[k + 1], '1-0', 'e', head .. ' ' .. bytes, 'c', ARGV[a + 4])
  redis.call('HSET', KEYS[k], 'status', 'running', 'epoch', 1, 'seq', 1, 'head', head, 'activation', 1, 'meta', bytes,
    'job', '')
  redis.call('ZADD', KEYS[k + 2], ARGV[a + 1], id)
  redis.call('SADD', KEYS[1], id)
  a = a + 5
end
return 1
