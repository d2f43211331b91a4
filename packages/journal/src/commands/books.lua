--[[
  Begins to make a tenant's books of costs anew, goes on, or puts those that were made in place of those that held.

  KEYS  1 the tenant's books (hash: live, next, at, cursor, runs)
        2 runs that those being made have had from anywhere but the archive (set)
  ARGV  1 'begin'   2 their name   3 now (ms)   4 those begun before this are left (ms)
        1 'move'    2 their name   3 the place where they are   4 the next
        1 'end'     2 their name   3 the place where they are
  Gives the name of books that are no more: '' for the first, false for none.
]]
local what, name = ARGV[1], ARGV[2]
local books = redis.call('HMGET', KEYS[1], 'live', 'next', 'at', 'cursor')
if what == 'begin' then
  if books[2] and tonumber(books[3]) >= tonumber(ARGV[4]) then return false end
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'next', name, 'at', ARGV[3], 'cursor', 'runs:', 'runs', 0)
  return books[2]
end
if books[2] ~= name or books[4] ~= ARGV[3] then return false end
if what == 'move' then
  redis.call('HSET', KEYS[1], 'cursor', ARGV[4])
  return false
end
redis.call('DEL', KEYS[2])
redis.call('HDEL', KEYS[1], 'next', 'cursor')
redis.call('HSET', KEYS[1], 'live', name)
return books[1] or ''
