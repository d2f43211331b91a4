--[[
  Takes runs out of the backlog, in fair order, until BullMQ's waiting list is as long as the window.
  What is taken stands in `pending` until its job is added.

  Order: a higher class first, but a lower one that waits gets every 16th place at least. Within a class,
  start-time fair queueing (Goyal, Vin, Cheng 1996): the tenant with the least virtual time is next, and
  each run that it gets moves its time on by 1 / weight. A tenant whose backlog is empty keeps its time
  until the others have come past it, so that coming back at once gains it nothing.
  Costs O(taken x log tenants), whatever waits.

  KEYS  1 pending activations   2 BullMQ's waiting list   3 state of the feed   4 weights
        5-7 turns of the priority classes
  ARGV  1 tag of the partition   2 now (ms)   3 window, or 0 for the one that workers told last
  Gives {shapes, runs, window}: the texts of the shapes of the runs taken, then id and number of shape (from 1) for
  each run, then the window.
]]
--@include queued
local EVERY = 16
-- One that was taken longer ago is not on its way any more: its feeder died, and the sweeper adds it.
local ON_ITS_WAY_MS = 1000

local tag, now = ARGV[1], tonumber(ARGV[2])
local state = redis.call('HMGET', KEYS[3], 'window', 'virtual0', 'virtual1', 'virtual2', 'passed1', 'passed2')
local window = tonumber(ARGV[3])
if window == 0 then
  window = tonumber(state[1] or 0)
elseif tostring(window) ~= state[1] then
  redis.call('HSET', KEYS[3], 'window', window)
end
local room = window - redis.call('ZCOUNT', KEYS[1], now - ON_ITS_WAY_MS, '+inf')
for _, job in ipairs(redis.call('LRANGE', KEYS[2], 0, window)) do
  -- A job's id ends with how many runs it has besides its first.
  room = room - 1 - (tonumber(string.match(job, '%+(%d+)$')) or 0)
end
local virtual = {tonumber(state[2] or 0), tonumber(state[3] or 0), tonumber(state[4] or 0)}
-- How many places higher classes got since a lower one that waits got its last.
local passed = {0, tonumber(state[5] or 0), tonumber(state[6] or 0)}
local changed = false
local taken, texts, numbers = {}, {}, {}

local function remember(ids, key)
  redis.call('ZADD', key, unpack(ids))
  local waiting = {}
  for i = 2, #ids, 2 do
    local record = redis.call('GETRANGE', tag .. ':new:' .. ids[i], 64, 79)
    -- Without a record it was taken up already.
    if record ~= '' then
      local key = tag .. ':shape:' .. hex(record, 1, 16)
      if not numbers[key] then
        texts[#texts + 1] = redis.call('HGET', key, 'text')
        numbers[key] = #texts
      end
      waiting[#waiting + 1] = now
      waiting[#waiting + 1] = ids[i]
      taken[#taken + 1] = ids[i]
      taken[#taken + 1] = numbers[key]
    end
  end
  if #waiting > 0 then
    redis.call('ZADD', KEYS[1], unpack(waiting))
  end
end

-- Takes up to `most` runs of the class from the tenant whose turn it is; gives how many, or nil when none waits.
local function take(class, most)
  local turns = KEYS[4 + class]
  while true do
    local next = redis.call('ZRANGE', turns, 0, 1, 'WITHSCORES')
    local tenant, time = next[1], tonumber(next[2])
    if not tenant then
      return nil
    end
    local weight = tonumber(redis.call('HGET', KEYS[4], tenant) or 1)
    local count = most
    if next[3] then
      -- It is its turn until its time has passed that of the next.
      count = math.min(most, math.floor((tonumber(next[4]) - time) * weight) + 1)
    end
    local popped = redis.call('ZPOPMIN', tag .. ':backlog:' .. (class - 1) .. ':' .. tenant, count)
    local got = #popped / 2
    changed = true
    if got > 0 then
      virtual[class] = time + (got - 1) / weight
      redis.call('ZADD', turns, string.format('%.17g', time + got / weight), tenant)
      for i = 1, #popped, 2 do
        popped[i], popped[i + 1] = popped[i + 1], popped[i]
      end
      remember(popped, tag .. ':index:' .. tenant)
      return got
    end
    virtual[class] = math.max(virtual[class], time)
    redis.call('ZREM', turns, tenant)
  end
end

while room > 0 do
  local most = math.min(room, 1000)
  local order = {1, 2, 3}
  for class = 3, 2, -1 do
    if redis.call('ZCARD', KEYS[4 + class]) == 0 then
      passed[class] = 0
    elseif passed[class] >= EVERY - 1 then
      order = {class, 1, 2, 3}
    else
      most = math.min(most, EVERY - 1 - passed[class])
    end
  end
  local got
  for i, class in ipairs(order) do
    if #order == 4 and i == 1 then
      got = take(class, 1)
    else
      got = take(class, most)
    end
    if got then
      passed[class] = 0
      for lower = class + 1, 3 do
        passed[lower] = passed[lower] + got
      end
      break
    end
  end
  if not got then
    break
  end
  room = room - got
end
local function text(number)
  return string.format('%.17g', number)
end
if changed then
  redis.call('HSET', KEYS[3], 'virtual0', text(virtual[1]), 'virtual1', text(virtual[2]), 'virtual2', text(virtual[3]),
    'passed1', passed[2], 'passed2', passed[3])
end
return {texts, taken, window}
