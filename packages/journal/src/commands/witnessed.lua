--[[
  A tenant's checkpoint was seen by all witnesses; a later one may wait for them already.

  KEYS  1 tenants by the size of the checkpoint that witnesses are to see
  ARGV  1 tenant   2 size that they have seen
]]
local size = redis.call('ZSCORE', KEYS[1], ARGV[1])
if size and tonumber(size) <= tonumber(ARGV[2]) then
  redis.call('ZREM', KEYS[1], ARGV[1])
end
