--[[
  Takes a run for one activation: its epoch grows, which fences whoever held it before.

  KEYS  1 run hash   2 inbox   3 pending activations
  ARGV  1 run id
  Gives {} when there is nothing to do (no such run, ended, or parked with an empty inbox),
  else {epoch, seq, head, meta}.
]]
redis.call('ZREM', KEYS[3], ARGV[1])
local run = redis.call('HMGET', KEYS[1], 'status', 'seq', 'head', 'meta')
local status = run[1]
if not status or status == 'succeeded' or status == 'failed' or status == 'cancelled' then
  return {}
end
if status == 'waiting' and redis.call('LLEN', KEYS[2]) == 0 then
  return {}
end
local epoch = redis.call('HINCRBY', KEYS[1], 'epoch', 1)
redis.call('HSET', KEYS[1], 'status', 'running')
return {epoch, tonumber(run[2]), run[3], run[4]}
