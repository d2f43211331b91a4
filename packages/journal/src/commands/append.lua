--[[
  Group commit: appends the new entries of many runs, each under its epoch and from its place.

  KEYS  1 pending activations   2 ended runs (stream)
        then per run: run hash, log stream, inbox, parent's run hash, parent's inbox
        (the last two repeat the run's own where it has no parent to tell)
  ARGV  1 now (ms)
        then per run: run id, epoch, seq before, seq after, head after, entry lines, content lines,
        messages taken from the inbox, operation ('' | 'park' | 'end'), status after ('' when unchanged),
        summary (JSON, '' when unchanged), parent id ('' when there is none to tell), message to the parent
  Gives per run two values: a result and the parent's activation to enqueue (0 when there is none).
        result  1 appended, 2 appended and the inbox holds more, 3 not parked because it does (nothing appended),
                -1 the epoch is old, -2 the place is wrong, -3 no such run
]]
local reply = {}
local a = 2
for k = 3, #KEYS, 5 do
  local run = KEYS[k]
  local now = redis.call('HMGET', run, 'epoch', 'seq', 'status')
  local result = 1
  local wake = 0
  local op = ARGV[a + 8]
  if not now[1] then
    result = -3
  elseif now[1] ~= ARGV[a + 1] then
    result = -1
  elseif now[2] ~= ARGV[a + 2] then
    result = -2
  else
    local left = redis.call('LLEN', KEYS[k + 2]) - tonumber(ARGV[a + 7])
    if op == 'park' and left > 0 then
      result = 3
    else
      redis.call('XADD', KEYS[k + 1], ARGV[a + 3] .. '-0', 'e', ARGV[a + 5], 'c', ARGV[a + 6])
      if ARGV[a + 9] == '' then
        redis.call('HSET', run, 'seq', ARGV[a + 3], 'head', ARGV[a + 4])
      else
        redis.call('HSET', run, 'seq', ARGV[a + 3], 'head', ARGV[a + 4], 'status', ARGV[a + 9], 'summary', ARGV[a + 10])
      end
      if ARGV[a + 7] ~= '0' then
        redis.call('LTRIM', KEYS[k + 2], ARGV[a + 7], -1)
      end
      if left > 0 then
        result = 2
      end
      if op == 'end' then
        redis.call('XADD', KEYS[2], '*', 'run', ARGV[a], 'head', ARGV[a + 4], 'seq', ARGV[a + 3])
        redis.call('DEL', KEYS[k + 2])
      end
      if ARGV[a + 11] ~= '' and redis.call('HEXISTS', KEYS[k + 3], 'status') == 1 then
        local parent = redis.call('HGET', KEYS[k + 3], 'status')
        if parent ~= 'succeeded' and parent ~= 'failed' and parent ~= 'cancelled' then
          redis.call('RPUSH', KEYS[k + 4], ARGV[a + 12])
          if parent == 'waiting' then
            redis.call('HSET', KEYS[k + 3], 'status', 'queued')
            wake = redis.call('HINCRBY', KEYS[k + 3], 'activation', 1)
            redis.call('ZADD', KEYS[1], ARGV[1], ARGV[a + 11])
          else
            wake = -1
          end
        end
      end
    end
  end
  reply[#reply + 1] = result
  reply[#reply + 1] = wake
  a = a + 13
end
return reply
