--[[
  Takes runs for one activation each: a run's epoch grows, which fences whoever held it before. One that
  nobody has taken yet gets its hash and its log now: its first entry moves into record 1-0 of the log.

  KEYS  1 pending activations   2 wake times
        then per run: queued record, run hash, log stream, inbox
  ARGV  1 tag of the partition   2 how many entries a journal may have to be given whole
        then per run: run id, job for which it is taken ('' for none)
  Gives per run {} when there is nothing to do (no such run, ended, parked with an empty inbox, or held for another
  job, which BullMQ gives to a worker until the run has ended or parked),
  else {epoch, seq, head, first entry, records of the log, messages in the inbox}; no records of a longer journal, and ''
  for a first entry that is all there is of the log.
]]
--@include queued
local reply = {}
local ids = {}
local k = 3
for i = 3, #ARGV, 2 do
  local id, job = ARGV[i], ARGV[i + 1]
  local queued, run, log, inbox = KEYS[k], KEYS[k + 1], KEYS[k + 2], KEYS[k + 3]
  local hold = {}
  ids[#ids + 1] = id
  local record = redis.call('GET', queued)
  if record then
    local head, bytes, content = expand(ARGV[1], id, record)
    local fields = {'e', head .. ' ' .. bytes, 'c', content}
    redis.call('XADD', log, '1-0', unpack(fields))
    redis.call('HSET', run, 'status', 'running', 'epoch', 1, 'seq', 1, 'head', head, 'activation', 1, 'meta', bytes,
      'job', job)
    redis.call('DEL', queued)
    local shape = shapeOf(ARGV[1], record)
    shape.left = shape.left + 1
    hold = {1, 1, head, '', {{'1-0', fields}}, redis.call('LLEN', inbox)}
  else
    local now = redis.call('HMGET', run, 'status', 'seq', 'head', 'meta', 'job')
    local status = now[1]
    local mail = redis.call('LLEN', inbox)
    local idle = not status or status == 'succeeded' or status == 'failed' or status == 'cancelled'
      or (status == 'waiting' and mail == 0) or (status == 'running' and job ~= '' and now[5] ~= job and now[5] ~= '')
    if not idle then
      local epoch = redis.call('HINCRBY', run, 'epoch', 1)
      redis.call('HSET', run, 'status', 'running', 'job', job)
      redis.call('ZREM', KEYS[2], id)
      local seq = tonumber(now[2])
      hold = {epoch, seq, now[3], now[4], seq <= tonumber(ARGV[2]) and redis.call('XRANGE', log, '-', '+') or {}, mail}
    end
  end
  reply[#reply + 1] = hold
  k = k + 4
end
redis.call('ZREM', KEYS[1], unpack(ids))
for _, shape in pairs(shapes) do
  if redis.call('HINCRBY', shape.key, 'uses', -shape.left) <= 0 then
    redis.call('DEL', shape.key)
  end
end
return reply
