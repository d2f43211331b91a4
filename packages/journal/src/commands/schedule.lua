--[[
  Writes a schedule, moves it on, or removes it, if it is still what the caller has read.

  KEYS  1 the schedule   2 schedules by next firing   3 schedules of the tenant
  ARGV  1 id   2 version that was read, 0 for a new one   3 its text, or '' to remove it
        4 next firing (ms), or '' for none   5 most schedules of a tenant
  Gives 1 when it is done, 0 when another was first, -1 when the tenant has too many.
  Costs O(log n).
]]
local id, version, text, next = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
if tonumber(redis.call('HGET', KEYS[1], 'version') or 0) ~= version then
  return 0
end
if text == '' then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], id)
  redis.call('ZREM', KEYS[3], id)
  return 1
end
if version == 0 then
  if redis.call('ZCARD', KEYS[3]) >= tonumber(ARGV[5]) then
    return -1
  end
  redis.call('ZADD', KEYS[3], 0, id)
end
redis.call('HSET', KEYS[1], 'version', version + 1, 'text', text)
if next == '' then
  redis.call('ZREM', KEYS[2], id)
else
  redis.call('ZADD', KEYS[2], next, id)
end
return 1
