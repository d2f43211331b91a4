--[[
  Gives slices of limits back that a worker has leased.

  KEYS  one hash per limit, as `lease.lua` has it
  ARGV  1 worker   then for each key: how long until what the worker has used of its part of a burst is earned again (ms)
]]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for k, key in ipairs(KEYS) do
  local fullAt = now + tonumber(ARGV[1 + k])
  redis.call('HDEL', key, ARGV[1])
  if fullAt > tonumber(redis.call('HGET', key, '.') or 0) and fullAt > now then
    redis.call('HSET', key, '.', fullAt)
    -- Whoever holds a part keeps it for as long as that needs.
    redis.call('PEXPIRE', key, math.max(fullAt - now + 1000, redis.call('PTTL', key)))
  end
end
return nil
