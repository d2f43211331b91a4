--[[
  Puts new runs into the backlog, each unless its idempotency key was used before.

  KEYS  1 state of the feed   2-4 turns of the priority classes
        then per shape: shape
        then per run: queued record, run hash, its tenant's backlog, idempotency key
  ARGV  1 number of shapes   2 time to live of idempotency keys (s)
        then per shape: text
        then per run: run id, place in the backlog (ms, from the id), class (0-2), tenant,
        which shape (from 1), queued record, hash of the request or '' for no idempotency key
  Gives per run: {1} when created, {0, run id, request hash} when the key was used, {2} when the run exists already.
]]
local shapes = tonumber(ARGV[1])
local virtual = redis.call('HMGET', KEYS[1], 'virtual0', 'virtual1', 'virtual2')
local reply = {}
local uses = {}
local turns = {}
local a = 3 + shapes
for k = 5 + shapes, #KEYS, 4 do
  local id = ARGV[a]
  local request = ARGV[a + 6]
  local used = request ~= '' and redis.call('GET', KEYS[k + 3])
  if used then
    reply[#reply + 1] = {0, string.sub(used, 1, 36), string.sub(used, 37)}
  elseif redis.call('EXISTS', KEYS[k], KEYS[k + 1]) > 0 then
    reply[#reply + 1] = {2}
  else
    if request ~= '' then
      redis.call('SET', KEYS[k + 3], id .. request, 'EX', ARGV[2])
    end
    local shape = tonumber(ARGV[a + 4])
    uses[shape] = (uses[shape] or 0) + 1
    redis.call('SET', KEYS[k], ARGV[a + 5])
    redis.call('ZADD', KEYS[k + 2], ARGV[a + 1], id)
    -- A tenant that comes (back) takes its place among those whose turn is now; one that has a turn keeps it.
    local class = tonumber(ARGV[a + 2])
    local turn = class .. ARGV[a + 3]
    if not turns[turn] then
      turns[turn] = true
      redis.call('ZADD', KEYS[2 + class], 'NX', virtual[class + 1] or 0, ARGV[a + 3])
    end
    reply[#reply + 1] = {1}
  end
  a = a + 7
end
for shape, count in pairs(uses) do
  if redis.call('HINCRBY', KEYS[4 + shape], 'uses', count) == count then
    redis.call('HSET', KEYS[4 + shape], 'text', ARGV[2 + shape])
  end
end
return reply
