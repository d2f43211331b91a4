/** Finds or starts Redis and DynamoDB, for dev and tests. */

/** What startDynamo takes, and the server that it gives. */
export type { DynamoOptions, DynamoService } from './dynamo.ts'
/** Gives a DynamoDB: the user's, that of AWS, or one embedded in this process. */
export { startDynamo } from './dynamo.ts'
/** A TCP port of 127.0.0.1 that nothing listens on. */
export { freePort } from './port.ts'
/** Gives a Redis that keeps what it acknowledges: the user's, one that runs already, or a new one. */
export { startRedis } from './redis.ts'
/** Starts a Redis Cluster for tests. */
export { startRedisCluster } from './redis-cluster.ts'
/** What startRedis takes, and the server that it gives. */
export type { RedisOptions, RedisService } from './redis-service.ts'
