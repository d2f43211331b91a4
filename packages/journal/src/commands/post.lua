--[[
  Puts a message into a run's inbox. A parked run is made ready for its next activation; one in the
  backlog need not wait for its turn to hear what it is told.

  KEYS  1 run hash   2 inbox   3 pending activations   4 queued record   5 mark that a message came before
  ARGV  1 run id   2 now (ms)   3 message (JSON)   4 tag of the partition   5 place in the index (ms, from the id)
        6 time to live of the mark (s), 0 to make none   7 messages that an inbox may hold
  Gives -1 no such run, -2 it has ended, -3 the inbox is full, 0 posted to an active run or known already, else the
  activation to enqueue.
]]
--@include queued
local function push()
  redis.call('RPUSH', KEYS[2], ARGV[3])
  if ARGV[6] ~= '0' then
    redis.call('SET', KEYS[5], '', 'EX', ARGV[6])
  end
end
if ARGV[6] ~= '0' and redis.call('EXISTS', KEYS[5]) == 1 then
  return 0
end
if redis.call('LLEN', KEYS[2]) >= tonumber(ARGV[7]) then
  return -3
end
local record = redis.call('GETRANGE', KEYS[4], 0, 79)
if record ~= '' then
  push()
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
push()
if status == 'waiting' then
  redis.call('HSET', KEYS[1], 'status', 'queued')
  redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])
  return redis.call('HINCRBY', KEYS[1], 'activation', 1)
end
return 0
