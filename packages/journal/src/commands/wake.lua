--[[
  Makes parked runs ready whose time has come. O(log n) for each, however many wait.

  KEYS  1 pending activations   2 wake times
  ARGV  1 tag of the partition   2 now (ms)   3 at most so many
  Gives {runs to enqueue, time of the next (ms) or '' when none waits}.
]]
local woken = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[2], 'LIMIT', 0, ARGV[3])) do
  redis.call('ZREM', KEYS[2], id)
  local run = ARGV[1] .. ':run:' .. id
  -- A message may have made it ready before, or it has ended.
  if redis.call('HGET', run, 'status') == 'waiting' then
    redis.call('HSET', run, 'status', 'queued')
    redis.call('HINCRBY', run, 'activation', 1)
    redis.call('ZADD', KEYS[1], ARGV[2], id)
    woken[#woken + 1] = id
  end
end
return {woken, redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2] or ''}
