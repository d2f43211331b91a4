--[[
  Counts what a run has cost, once, however often it is told.

  KEYS  1 that the run was counted   then a hash for each day
  ARGV  1 how long that is kept (s)   2 how long days are kept (s)
        then for each amount: the place of its day's key, its field, the amount
  Gives 1 where it was counted, 0 where that was done before.
]]
if not redis.call('SET', KEYS[1], '', 'NX', 'EX', ARGV[1]) then return 0 end
for i = 3, #ARGV, 3 do
  redis.call('HINCRBY', KEYS[tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 2])
end
for k = 2, #KEYS do redis.call('EXPIRE', KEYS[k], ARGV[2]) end
return 1
