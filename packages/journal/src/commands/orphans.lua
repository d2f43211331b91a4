--[[
  Gives the runs of holders that have not said for long that they live to the queue of activations.

  KEYS  1 holders, by when they count as dead   2 pending activations
  ARGV  1 tag of the partition   2 now (ms)   3 at most so many
  Gives the runs to enqueue: not those that have ended, of which the holder could no longer say so.
]]
local left = tonumber(ARGV[3])
local orphans = {}
for _, holder in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[2], 'LIMIT', 0, 16)) do
  local held = ARGV[1] .. ':hold:' .. holder
  if left > 0 then
    for _, id in ipairs(redis.call('SPOP', held, left)) do
      local status = redis.call('HGET', ARGV[1] .. ':run:' .. id, 'status')
      if status and status ~= 'succeeded' and status ~= 'failed' and status ~= 'cancelled' then
        redis.call('ZADD', KEYS[2], ARGV[2], id)
        orphans[#orphans + 1] = id
      end
      left = left - 1
    end
  end
  if redis.call('EXISTS', held) == 0 then
    redis.call('ZREM', KEYS[1], holder)
  end
end
return orphans
