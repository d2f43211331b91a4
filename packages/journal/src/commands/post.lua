--[[
  Puts a message into a run's inbox. A parked run is made ready for its next activation; one in the
  backlog need not wait for its turn to hear what it is told.

  KEYS  1 run hash   2 inbox   3 pending activations   4 queued record
  ARGV  1 run id   2 now (ms)   3 message (JSON)   4 tag of the partition   5 place in the index (ms, from the id)
  Gives -1 no such run, -2 it has ended, 0 posted to an active run, else the activation to enqueue.
]]
--@include queued
local record = redis.call('GETRANGE', KEYS[4], 0, 79)
if record ~= '' then
  redis.call('RPUSH', KEYS[2], ARGV[3])
  local shape = cjson.decode('{' .. shapeOf(ARGV[4], record).text .. '}')
  local class = ({high = 0, low = 2})[shape.priority] or 1
  if redis.call('ZREM', ARGV[4] .. ':backlog:' .. class .. ':' .. shape.tenant, ARGV[1]) == 1 then
    redis.call('ZADD', ARGV[4] .. ':index:' .. shape.tenant, ARGV[5], ARGV[1])
    redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])
    return 1
  end
  return 0
end
local status = redis.call('HGET', KEYS[1], 'status')
if not status then
  return -1
end
if status == 'succeeded' or status == 'failed' or status == 'cancelled' then
  return -2
end
redis.call('RPUSH', KEYS[2], ARGV[3])
if status == 'waiting' then
  redis.call('HSET', KEYS[1], 'status', 'queued')
  redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])
  return redis.call('HINCRBY', KEYS[1], 'activation', 1)
end
return 0
