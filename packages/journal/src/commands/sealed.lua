--[[
  Forgets heads that the ledger has.

  KEYS  1 the tenant's heads   2 tenants with heads
  ARGV  1 tenant   2 id of the first record that is still needed   3 1 where nothing else is to be done for the tenant
]]
redis.call('XTRIM', KEYS[1], 'MINID', ARGV[2])
if ARGV[3] == '1' and redis.call('XLEN', KEYS[1]) == 0 then
  redis.call('ZREM', KEYS[2], ARGV[1])
end
