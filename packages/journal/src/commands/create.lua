--[[
  Creates a run with its first entry, unless its idempotency key was used before.

  KEYS  1 run hash   2 log stream   3 index of the tenant's runs   4 pending activations   5 idempotency key
  ARGV  1 run id   2 now (ms)   3 meta (JSON)   4 head   5 entry line   6 content line
        7 hash of the request, or '' for no idempotency key   8 its time to live (s)   9 place in the index (ms, from the id)
  Gives {1} when created, {0, run id, request hash} when the key was used, {2} when the run exists already.
]]
if ARGV[7] ~= '' then
  local used = redis.call('GET', KEYS[5])
  if used then
    return {0, string.sub(used, 1, 36), string.sub(used, 37)}
  end
end
if redis.call('EXISTS', KEYS[1]) == 1 then
  return {2}
end
if ARGV[7] ~= '' then
  redis.call('SET', KEYS[5], ARGV[1] .. ARGV[7], 'EX', ARGV[8])
end
redis.call('HSET', KEYS[1], 'status', 'queued', 'epoch', 0, 'seq', 1, 'head', ARGV[4], 'activation', 1, 'meta', ARGV[3])
redis.call('XADD', KEYS[2], '1-0', 'e', ARGV[5], 'c', ARGV[6])
redis.call('ZADD', KEYS[3], ARGV[9], ARGV[1])
redis.call('ZADD', KEYS[4], ARGV[2], ARGV[1])
return {1}
