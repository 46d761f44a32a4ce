/**
 * effect-checkpoint on Postgres.
 *
 * @since 0.1.0
 */

/**
 * @since 0.1.0
 */
export * as EmbeddedPostgres from "./EmbeddedPostgres.ts"

/**
 * @since 0.1.0
 */
export * as PgCheckpointer from "./PgCheckpointer.ts"
