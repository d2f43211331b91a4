--[[
  Forgets heads that the ledger has.

  KEYS  1 the tenant's heads   2 tenants with heads, by the time of the oldest
  ARGV  1 tenant   2 id of the first record that is still needed   3 1 where nothing else is to be done for the tenant
]]
redis.call('XTRIM', KEYS[1], 'MINID', ARGV[2])
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
if first then
  -- Its first field is when that was: a tenant whose heads never end is as late as the oldest that is left.
  redis.call('ZADD', KEYS[2], first[2][2], ARGV[1])
elseif ARGV[3] == '1' then
  redis.call('ZREM', KEYS[2], ARGV[1])
end
