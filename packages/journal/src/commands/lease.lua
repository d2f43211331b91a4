--[[
  Leases slices of limits that hold over all workers to one of them. What all hold together is never more than the
  limit, and a worker that has not asked again in time holds nothing.

  Max-min fair: nobody gets more than it demands while another lacks; what nobody demands is split evenly, and what
  cannot be split goes round by turns. What a worker is to give up stays its own until it says that it goes by less.

  A limit may change: of a worker that still goes by other shares in all its part of them counts.

  KEYS  one hash per limit: worker -> "places,shares,used,wants,until,shares in all"; "." -> when the parts are full
        again of those that are not here any more
  ARGV  1 worker   2 lease (ms)   then for each key: places in all, shares in all, burst (ms), how long one keeps a
        place and how long a share that cannot be split (ms), places in use, whether more is wanted (1 or 0), places and shares that the worker goes by
  Gives {places, shares, fresh} for each key; fresh is 1 when nobody has used the limit for as long as a burst takes.
]]
local NOBODY = '.'
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Gives each its part of `total`, in the order of `demands`.
local function fill(total, demands, turn)
  local count = #demands
  local given = {}
  local open = {}
  for i = 1, count do
    given[i] = 0
    if demands[i] > 0 then open[#open + 1] = i end
  end
  local left = total
  local function rest(among)
    for i = 1, left do
      local at = among[(turn + i - 1) % #among + 1]
      given[at] = given[at] + 1
    end
    left = 0
  end
  while left > 0 and #open > 0 do
    local share = math.floor(left / #open)
    if share == 0 then rest(open) break end
    local still = {}
    for _, i in ipairs(open) do
      local more = math.min(share, demands[i] - given[i])
      given[i] = given[i] + more
      left = left - more
      if given[i] < demands[i] then still[#still + 1] = i end
    end
    open = still
  end
  if left > 0 then
    local all = {}
    local share = math.floor(left / count)
    for i = 1, count do
      all[i] = i
      given[i] = given[i] + share
    end
    left = left - share * count
    if left > 0 then rest(all) end
  end
  return given
end

local worker = ARGV[1]
local lease = tonumber(ARGV[2])
local answers = {}

for k, key in ipairs(KEYS) do
  local at = 2 + (k - 1) * 9
  local places, shares = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local burst = tonumber(ARGV[at + 3])
  local placeTurn, shareTurn = math.floor(now / tonumber(ARGV[at + 4])), math.floor(now / tonumber(ARGV[at + 5]))
  local used, wants = tonumber(ARGV[at + 6]), tonumber(ARGV[at + 7])
  local hasPlaces, hasShares = tonumber(ARGV[at + 8]), tonumber(ARGV[at + 9])
  local fields = redis.call('HGETALL', key)
  local fullAt = 0
  local names = {worker}
  local holds = {[worker] = {0, 0, used, wants}}
  local otherPlaces, otherShares = 0, 0
  local isHeld, isLeft = false, false
  for i = 1, #fields, 2 do
    local name = fields[i]
    if name == NOBODY then
      fullAt = math.max(fullAt, tonumber(fields[i + 1]))
    elseif name ~= worker then
      local hold = {}
      for part in string.gmatch(fields[i + 1], '[^,]+') do hold[#hold + 1] = tonumber(part) end
      if hold[5] <= now then
        redis.call('HDEL', key, name)
        fullAt = math.max(fullAt, hold[5] + burst)
        isLeft = true
      else
        local of = hold[6] or shares
        if of ~= shares then hold[2] = of > 0 and math.ceil(hold[2] * shares / of) or 0 end
        names[#names + 1] = name
        holds[name] = hold
        otherPlaces = otherPlaces + hold[1]
        otherShares = otherShares + hold[2]
        isHeld = true
      end
    else
      -- It has been here before: what it has used, it knows.
      isHeld = true
    end
  end
  table.sort(names)
  local placeDemands, shareDemands, me = {}, {}, 0
  for i, name in ipairs(names) do
    local hold = holds[name]
    placeDemands[i] = hold[4] == 1 and places or hold[3]
    shareDemands[i] = hold[4] == 1 and shares or 0
    if name == worker then me = i end
  end
  local toPlaces = math.max(math.min(fill(places, placeDemands, placeTurn)[me], places - otherPlaces), 0)
  local toShares = math.max(math.min(fill(shares, shareDemands, shareTurn)[me], shares - otherShares), 0)
  -- What it still goes by stays taken until it has heard of having less.
  local heldPlaces = math.max(toPlaces, hasPlaces, used)
  local heldShares = math.max(toShares, hasShares)
  local mine = table.concat({heldPlaces, heldShares, used, wants, now + lease, shares}, ',')
  redis.call('HSET', key, worker, mine)
  if isLeft then redis.call('HSET', key, NOBODY, fullAt) end
  redis.call('PEXPIRE', key, lease + burst + 1000)
  answers[k] = {toPlaces, toShares, not isHeld and fullAt <= now and 1 or 0}
end

return answers
