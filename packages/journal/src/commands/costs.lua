--[[
  Counts what a run has cost, once, however often it is told: in the books that hold, and in those that are being made
  anew. A run that was counted before these were begun is found where they are made from.

  KEYS  1 a tenant's books (hash: live, next, at, cursor, runs)   2 that the run was counted
        3 runs that those being made have had from anywhere but the archive (set)
  ARGV  1 the partition's tag   2 the tenant   3 the run   4 how long it is known that it was counted (s)
        5 how long days are kept (s)   6 books begun before this are left (ms)
        7 what tells of it: '' its end, 'found' where books are made anew, or a place in the archive
        8 the place that comes then
        then for each amount: its day, its field, the amount
  Gives 1, or 0 where whoever makes books has gone on from that place meanwhile.
]]
local books = redis.call('HMGET', KEYS[1], 'live', 'next', 'at', 'cursor')
local live, next, told = books[1] or '', books[2], ARGV[7]
if next and tonumber(books[3]) < tonumber(ARGV[6]) then next = false end

local function count(name)
  local days = {}
  for i = 9, #ARGV, 3 do
    local key
    if name == '' then key = ARGV[1] .. ':costs:' .. ARGV[i] .. ':' .. ARGV[2]
    else key = ARGV[1] .. ':book:' .. name .. ':' .. ARGV[i] .. ':' .. ARGV[2] end
    days[key] = true
    redis.call('HINCRBY', key, ARGV[i + 1], ARGV[i + 2])
  end
  for key in pairs(days) do redis.call('EXPIRE', key, ARGV[5]) end
end

if told ~= '' and told ~= 'found' then
  if not next or books[4] ~= told then return 0 end
  redis.call('HSET', KEYS[1], 'cursor', ARGV[8])
  redis.call('HINCRBY', KEYS[1], 'runs', 1)
  if redis.call('SISMEMBER', KEYS[3], ARGV[3]) == 0 then count(next) end
  return 1
end

local isNew = redis.call('SET', KEYS[2], '', 'NX', 'EX', ARGV[4])
if isNew then count(live) end
if next and (isNew or told == 'found') and redis.call('SADD', KEYS[3], ARGV[3]) == 1 then count(next) end
return 1
