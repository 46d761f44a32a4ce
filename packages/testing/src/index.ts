/**
 * What tests of a checkpointer need.
 *
 * @since 0.1.0
 */

/**
 * @since 0.1.0
 */
export * as PostgresServer from "./PostgresServer.ts"

/**
 * @since 0.1.0
 */
export * as CheckpointerLaws from "./CheckpointerLaws.ts"

/**
 * @since 0.1.0
 */
export * as StateGraphLaws from "./StateGraphLaws.ts"

/**
 * @since 0.1.0
 */
export * as ServerFaults from "./ServerFaults.ts"

/**
 * @since 0.1.0
 */
export * as TcpProxy from "./TcpProxy.ts"
