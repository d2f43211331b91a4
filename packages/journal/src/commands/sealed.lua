--[[
  Forgets heads that the ledger has.

  KEYS  1 the tenant's heads   2 tenants with heads
  ARGV  1 tenant   2 id of the first record that is still needed
]]
redis.call('XTRIM', KEYS[1], 'MINID', ARGV[2])
if redis.call('XLEN', KEYS[1]) == 0 then
  redis.call('ZREM', KEYS[2], ARGV[1])
end
