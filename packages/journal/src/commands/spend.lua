--[==[
  Budgets that hold over all workers: sets amounts aside before they are used, and settles them after. An amount that is
  set aside counts as used until then; one that nobody settles in time stays counted in full.

  Each account has five amounts (see `AMOUNTS` in spend.ts), all integers. Its hash: s1..s5 used, h1..h5 set aside,
  `r:<id>` one reservation, "a1,..,a5". Its sorted set: reservations by when they expire, ms.

  KEYS  for each account: its hash, its sorted set
  ARGV  1 operations as JSON   then for each account: how long it is kept (s)
        {"reserve":[5],"need":[5],"part":bool,"id":..,"until":ms,"accounts":[[account,limit1..limit5],..]}: sets aside what
        is asked for in all of the accounts, or nothing. `need` must be there; -1 is no limit. With `part` it is at most a
        sixteenth of what is left, and at least `need`.
        {"settle":[5],"id":..,"accounts":[[account],..]}: so much was used in its place.
        {"refill":[5],"need":[5],"settle":[5],"keep":[5],"id":..,"as":..,"until":ms,"accounts":[[account,limit1..limit5],..]}:
        so much of `id` was used, and `keep` of it still may be; sets that aside under the name `as`, and what is asked for
        besides: at most a sixteenth of what is left, nothing where that is less than `need`. `id` is empty at first.
        {"atLeast":[5],"accounts":[[account],..]}: so much was used before, where less is known of.
        {"read":true,"accounts":[[account]]}
  Gives for each: {0, granted1..5} or {1 (not enough is left) or 2 (others have set it aside), account's place, amount,
  used, set aside}; for `refill` {0, granted1..5} or {1} where `id` is not there: it has
  expired, or nothing was left of it; for `read` {0, used1..5, set aside1..5}.
]==]
local COUNT = 5
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ops = cjson.decode(ARGV[1])
local accounts = {}

local function parse(text)
  local amounts = {}
  for part in string.gmatch(text, '[^,]+') do amounts[#amounts + 1] = tonumber(part) end
  return amounts
end

local function text(amounts)
  local parts = {}
  for i = 1, COUNT do parts[i] = string.format('%.0f', amounts[i]) end
  return table.concat(parts, ',')
end

local function open(k)
  local known = accounts[k]
  if known then return known end
  local account = {hash = KEYS[2 * k - 1], due = KEYS[2 * k], s = {}, h = {}, changed = false}
  local fields = redis.call('HMGET', account.hash, 's1', 's2', 's3', 's4', 's5', 'h1', 'h2', 'h3', 'h4', 'h5')
  for i = 1, COUNT do
    account.s[i] = tonumber(fields[i] or 0) or 0
    account.h[i] = tonumber(fields[COUNT + i] or 0) or 0
  end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', account.due, '-inf', now, 'LIMIT', 0, 1000)) do
    local held = redis.call('HGET', account.hash, 'r:' .. id)
    if held then
      for i, amount in ipairs(parse(held)) do
        account.h[i] = account.h[i] - amount
        account.s[i] = account.s[i] + amount
      end
      redis.call('HDEL', account.hash, 'r:' .. id)
      account.changed = true
    end
    redis.call('ZREM', account.due, id)
  end
  accounts[k] = account
  return account
end

local function hold(account, id, due, amounts)
  for i = 1, COUNT do account.h[i] = account.h[i] + amounts[i] end
  redis.call('HSET', account.hash, 'r:' .. id, text(amounts))
  redis.call('ZADD', account.due, due, id)
  account.changed = true
end

local function reserve(op)
  local first = open(op.accounts[1][1])
  local again = redis.call('HGET', first.hash, 'r:' .. op.id)
  if again then
    local answer = parse(again)
    table.insert(answer, 1, 0)
    return answer
  end
  local granted = {}
  for i = 1, COUNT do granted[i] = op.reserve[i] end
  local wait
  for place, about in ipairs(op.accounts) do
    local account = open(about[1])
    for i = 1, COUNT do
      local limit = about[i + 1]
      if limit >= 0 and op.reserve[i] > 0 then
        local left = limit - account.s[i] - account.h[i]
        if account.s[i] + op.need[i] > limit then return {1, place, i, account.s[i], account.h[i]} end
        if left < op.need[i] then wait = wait or {2, place, i, account.s[i], account.h[i]} end
        if op.part then granted[i] = math.min(granted[i], math.max(op.need[i], math.floor(left / 16))) end
      end
    end
  end
  if wait then return wait end
  for _, about in ipairs(op.accounts) do hold(open(about[1]), op.id, op['until'], granted) end
  table.insert(granted, 1, 0)
  return granted
end

local function settle(op)
  for _, about in ipairs(op.accounts) do
    local account = open(about[1])
    local held = redis.call('HGET', account.hash, 'r:' .. op.id)
    -- One that is not there has expired, and counts in full; or it was settled before.
    if held then
      for i, amount in ipairs(parse(held)) do
        account.h[i] = account.h[i] - amount
        account.s[i] = account.s[i] + op.settle[i]
      end
      redis.call('HDEL', account.hash, 'r:' .. op.id)
      redis.call('ZREM', account.due, op.id)
      account.changed = true
    end
  end
  return {0}
end

local function refill(op)
  local first = open(op.accounts[1][1])
  local again = redis.call('HGET', first.hash, 'r:' .. op.as)
  if again then
    local answer = {0}
    for i, amount in ipairs(parse(again)) do answer[1 + i] = amount - op.keep[i] end
    return answer
  end
  if op.id ~= '' and not redis.call('HGET', first.hash, 'r:' .. op.id) then return {1} end
  settle(op)
  local granted = {}
  for i = 1, COUNT do granted[i] = op.refill[i] end
  for _, about in ipairs(op.accounts) do
    local account = open(about[1])
    for i = 1, COUNT do
      local limit = about[i + 1]
      if limit >= 0 then
        local left = limit - account.s[i] - account.h[i] - op.keep[i]
        granted[i] = math.min(granted[i], math.max(math.floor(left / 16), 0))
      end
    end
  end
  local enough = true
  for i = 1, COUNT do enough = enough and granted[i] >= op.need[i] end
  local all, some = {}, false
  for i = 1, COUNT do
    if not enough then granted[i] = 0 end
    all[i] = op.keep[i] + granted[i]
    some = some or all[i] > 0
  end
  if some then
    for _, about in ipairs(op.accounts) do hold(open(about[1]), op.as, op['until'], all) end
  end
  table.insert(granted, 1, 0)
  return granted
end

local function atLeast(op)
  for _, about in ipairs(op.accounts) do
    local account = open(about[1])
    for i = 1, COUNT do account.s[i] = math.max(account.s[i], op.atLeast[i]) end
    account.changed = true
  end
  return {0}
end

local function read(op)
  local account = open(op.accounts[1][1])
  local answer = {0}
  for i = 1, COUNT do answer[1 + i] = account.s[i] end
  for i = 1, COUNT do answer[1 + COUNT + i] = account.h[i] end
  return answer
end

local answers = {}
for i, op in ipairs(ops) do
  if op.reserve then answers[i] = reserve(op)
  elseif op.refill then answers[i] = refill(op)
  elseif op.settle then answers[i] = settle(op)
  elseif op.atLeast then answers[i] = atLeast(op)
  else answers[i] = read(op) end
end

for k, account in pairs(accounts) do
  if account.changed then
    local fields = {}
    for i = 1, COUNT do
      fields[#fields + 1] = 's' .. i
      fields[#fields + 1] = string.format('%.0f', account.s[i])
      fields[#fields + 1] = 'h' .. i
      fields[#fields + 1] = string.format('%.0f', account.h[i])
    end
    redis.call('HSET', account.hash, unpack(fields))
    redis.call('EXPIRE', account.hash, ARGV[1 + k])
    redis.call('EXPIRE', account.due, ARGV[1 + k])
  end
end

return answers
