--[[
  Puts a message into a run's inbox. A parked run is made ready for its next activation.

  KEYS  1 run hash   2 inbox   3 pending activations
  ARGV  1 run id   2 now (ms)   3 message (JSON)
  Gives -1 no such run, -2 it has ended, 0 posted to an active or queued run, else the activation to enqueue.
]]
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
