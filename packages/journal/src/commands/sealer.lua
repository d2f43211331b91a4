--[[
  Takes, or keeps, the right to append to a tenant's ledger. It spares others the work; that only one of them writes is
  ensured where the ledger is.

  KEYS  1 who has it
  ARGV  1 worker   2 for so long (ms); 0 gives it back
  Gives 1 where the worker has it.
]]
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return 0
end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
