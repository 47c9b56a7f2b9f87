#!lua
-- Make a dead letter of a message that was not delivered.
-- ARGV: topic, data, priority, attempts, reason
bury({t = ARGV[3], m = ARGV[4], p = ARGV[5], a = ARGV[6], k = ''}, ARGV[7])
return 1
