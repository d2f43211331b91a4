--[[
  Group commit: appends the new entries of many runs, each under its epoch and from its place.

  KEYS  1 pending activations   2 ended runs (stream)   3 wake times   4 tenants with webhooks   5 their events (stream)
        6 runs that ask people something
        then per run: run hash, log stream, inbox; where it is created: its tenant's index, runs that the holder holds;
        and where it ends or parks with a parent to tell: the parent's run hash and inbox
  ARGV  1 now (ms)   2 tag of the partition where heads of runs that end or park go to the ledger, else ''
        then per run: epoch, seq before, seq after, head after, entry lines, content lines, messages taken from the
        inbox, whether it asks people from now on ('+' and its member there, '-' and that, or ''), operation
        ('' | 'park' | 'end'); where the seq before is 0, which creates it: run id, time of its creation (ms, from the
        id); where there is an operation: run id, status after, summary (JSON), time to wake it (ms, or ''), parent id
        ('' when there is none to tell), tenant, event for its webhooks (JSON, or ''); and where there is a parent:
        message to it
  A run that is created here is held by who creates it from its first entry on: it stands in no backlog and no queue.
  Gives per run two values: a result and the parent's activation to enqueue (0 when there is none).
        result  1 appended, 2 appended and the inbox holds more, 3 not parked because it does (nothing appended),
                -1 the epoch is old, -2 the place is wrong, -3 no such run
]]
local call = redis.call
local reply = {}
--@include heads_out
-- Of runs that are created, what their tenants' indexes and their holder get: of a whole batch by one call of Redis.
local MEMBERS_MAX = 2000
local indexed, held = {}, {}
local function gather(members, key, ...)
  local of = members[key] or {}
  members[key] = of
  for _, member in ipairs({...}) do of[#of + 1] = member end
end
local function add(command, members)
  for key, of in pairs(members) do
    for from = 1, #of, MEMBERS_MAX do call(command, key, unpack(of, from, math.min(from + MEMBERS_MAX - 1, #of))) end
  end
end
local hooked = {}
local function isHooked(tenant)
  if hooked[tenant] == nil then hooked[tenant] = call('SISMEMBER', KEYS[4], tenant) == 1 end
  return hooked[tenant]
end
local a, k = 3, 7
while k <= #KEYS do
  local run, log, inbox = KEYS[k], KEYS[k + 1], KEYS[k + 2]
  local epoch, before, seq, head, taken, op = ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], ARGV[a + 6], ARGV[a + 8]
  local entries, contents, asks = ARGV[a + 4], ARGV[a + 5], ARGV[a + 7]
  local now = call('HMGET', run, 'epoch', 'seq')
  local result = 1
  local wake = 0
  local isNew = before == '0'
  if isNew then
    if not now[1] then
      local id, at = ARGV[a + 9], ARGV[a + 10]
      -- A hash and a blank stand before the bytes of each entry.
      local bytes = string.sub(entries, 66, (string.find(entries, '\n', 1, true) or 0) - 1)
      call('HSET', run, 'status', 'running', 'epoch', epoch, 'seq', seq, 'head', head, 'activation', 1, 'meta', bytes,
        'job', '')
      gather(indexed, KEYS[k + 3], at, id)
      gather(held, KEYS[k + 4], id)
      now = {epoch, before}
    else
      now[2] = false
    end
    k = k + 2
    a = a + 2
  end
  local parent = op ~= '' and ARGV[a + 13] or ''
  if now[1] ~= epoch then
    result = now[1] and -1 or -3
  elseif now[2] ~= before then
    result = -2
  else
    local mail = isNew and 0 or call('LLEN', inbox)
    local left = taken == '0' and mail or mail - taken
    if op == 'park' and left > 0 then
      result = 3
    else
      call('XADD', log, seq .. '-0', 'e', entries, 'c', contents)
      if op == '' then
        if not isNew then
          call('HSET', run, 'seq', seq, 'head', head)
        end
      else
        call('HSET', run, 'seq', seq, 'head', head, 'status', ARGV[a + 10], 'summary', ARGV[a + 11])
      end
      if op == 'end' then
        call('XADD', KEYS[2], '*', 'run', ARGV[a + 9])
        if mail > 0 then
          call('DEL', inbox)
        end
      elseif taken ~= '0' then
        call('LTRIM', inbox, taken, -1)
      end
      if left > 0 then
        result = 2
      end
      if asks ~= '' then
        if string.sub(asks, 1, 1) == '+' then
          call('ZADD', KEYS[6], 0, string.sub(asks, 2))
        else
          call('ZREM', KEYS[6], string.sub(asks, 2))
        end
      end
      if op ~= '' and ARGV[2] ~= '' then
        noteHead(ARGV[2], ARGV[1], ARGV[a + 14], ARGV[a + 9], seq, head, op == 'end' and 'ended' or 'parked')
      end
      if op == 'park' and ARGV[a + 12] ~= '' then
        call('ZADD', KEYS[3], ARGV[a + 12], ARGV[a + 9])
      end
      if op ~= '' and ARGV[a + 15] ~= '' and isHooked(ARGV[a + 14]) then
        call('XADD', KEYS[5], '*', 'run', ARGV[a + 9], 'seq', seq, 'tenant', ARGV[a + 14], 'payload', ARGV[a + 15])
      end
      if parent ~= '' then
        local status = call('HGET', KEYS[k + 3], 'status')
        if status and status ~= 'succeeded' and status ~= 'failed' and status ~= 'cancelled' then
          call('RPUSH', KEYS[k + 4], ARGV[a + 16])
          if status == 'waiting' then
            call('HSET', KEYS[k + 3], 'status', 'queued')
            wake = call('HINCRBY', KEYS[k + 3], 'activation', 1)
            call('ZADD', KEYS[1], ARGV[1], parent)
          else
            wake = -1
          end
        end
      end
    end
  end
  reply[#reply + 1] = result
  reply[#reply + 1] = wake
  k = k + (parent == '' and 3 or 5)
  a = a + (op == '' and 9 or parent == '' and 16 or 17)
end
add('ZADD', indexed)
add('SADD', held)
sendHeads(ARGV[2], ARGV[1])
return reply
